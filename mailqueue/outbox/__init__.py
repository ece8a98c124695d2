"""The write side, inside the caller's transaction: messages become rows here, and rows become messages again."""
