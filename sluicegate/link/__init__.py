"""What keeper and workers of one machine share."""
