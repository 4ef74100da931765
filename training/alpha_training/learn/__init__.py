"""Learning from what was served: an audit log and what the market did next make a candidate, and never more than that.

In the order of the imports: ``stream`` (the log, verified, as events and decisions), ``rows`` (its rows computed again,
held against what was logged, with their outcomes), ``window`` (which rows update, choose and judge), ``production``
(the model that serves, as the audit sees models), ``head`` (its last layer goes on by partial_fit), ``against``
(candidate and production over the same rows), ``picture``, ``learn`` (the whole path).
"""
