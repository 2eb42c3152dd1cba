"""Labels: exact local matrices of fields.

``ways``       by what they are computed: the cheapest way that is good enough
``labels``     files of them; ``labelled`` the same in memory, and how far a network is off
``parts``      the labelled fields of a training, by part
"""
