"""How surrogates are trained: a user's family and the models of the package by one recipe.

``train``      `train_surrogate`: all of it; ``job`` what every kind of training is given, and its verdict
``fields``     `fields_of`: where coefficients come from, and which are for what
``labelling``  exact matrices of fields, by the cheapest way, in files and in memory
``budget``     seconds from words, and how they are shared out; ``run`` what a run keeps in its folder
``patches``    a network of patches by a job; ``training`` its parts: ridge, loop, last layers, doubt; `remake`
``recipes``    the numbers of a training, and those of the models of the package
``rivals``     what stands in the verdict beside a model
``fitting``    the loop alone, for any network, and the paper's schedule
"""
