"""What the management API takes and answers: the truth of its OpenAPI document. Fields may be added, none goes away.

One file per resource, as beside it. Times end in `_s` where they are seconds, and are ISO 8601 in UTC where they are
moments.
"""
