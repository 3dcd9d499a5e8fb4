"""Training a pretrained model from a recipe: what `ponder train` does. Measured before and after on problems that
training does not see.

recipe.py     what is asked for, checked before any work
problems.py   which problems train, which are held out, which test
data.py       rows of chains, and completions to imitate, from files
adapter.py    LoRA, by peft, and back to an ordinary checkpoint
memory.py     what fits a GPU, estimated before weights are loaded
plan.py       the same for a recipe, in words
phases.py     measuring, sampling, training: each in a folder of its own
run.py        the phases in order, resumable
report.py     report.json, from the sample rows
"""
