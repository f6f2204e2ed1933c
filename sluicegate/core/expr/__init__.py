"""The expressions of `match`: a subset of CEL. Text becomes a tree (parse), the tree is judged (check) and, where it is
used, bound to closures (bind). docs/reference/expressions.md is what users read."""
