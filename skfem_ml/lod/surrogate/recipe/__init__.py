"""How surrogates are trained: a user's family and the models of the package by one recipe.

``fields``      `fields_of`: where coefficients come from, and which are for what
``budget``      seconds from words, and how they are shared out
``labels``      exact matrices in files; ``engines`` by what they are computed; ``labelled`` the same in memory
``recipes``     the numbers of a training, and those of the models of the package; ``parts`` their fields
``training``    ridge, loop, refit and doubt; ``run`` what a run keeps; ``train`` all of it: `train_surrogate`
``rivals``      what stands in the verdict beside a model
``fitting``     the loop alone, for any network, and the paper's schedule
"""
