"""One file per verb of the `sluicegate` program; each offers its click command as `command`."""
