"""`perdure eval answers`: how likely the right answer is, given what each memory puts into the window."""
