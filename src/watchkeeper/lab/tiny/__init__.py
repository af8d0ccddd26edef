"""A real and very small language model for the lab: made-up tasks, a vocabulary, inference in numpy, and masks.

It is our own, trained by `scripts/train_small_model.py` on text that a program wrote. What it gets wrong it gets wrong
by itself. Nothing that is measured on it says anything about another model.
"""
