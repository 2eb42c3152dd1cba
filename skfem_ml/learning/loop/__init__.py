"""What the one training loop is made of: the state of a run, what determines it, the processes that share it."""
