"""The lab: a scriptable model provider that is not a model, recorded runs to play, and sandbox agents.

Nothing in here calls a paid model. Every reply of the provider says that it came from the lab: a response
header `x-watchkeeper-lab: not-a-model` (`tiny-model` where the lab's own tiny model answered), a `system_fingerprint`
that begins with `lab-`, and an owner in `/v1/models`.
"""
