"""Learning by the total derivative of a validation loss through one training step.

- `derivative`: the hypergradient; `inner_step`, `running`, `workers`: the step that it goes
  through.
- `adam`: that step where the training goes on with Adam.
- `outer_step`: the learned parameters' own step.
- `corruption`: a CutDiff among the corruptions of an autoencoder, learned so.

No method lives here.
"""
