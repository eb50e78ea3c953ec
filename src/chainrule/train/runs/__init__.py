"""Runs: recipes carried out in a folder, by the command line or from Python.

training   `train` a recipe in a new folder, `resume` one that was stopped
run        `Run`: open a folder, predict, evaluate, explain
explained  a run's loss on test rows, as a function that its user could write
result     the metrics of the test rows, and the report
folder     reading, writing and locking a run folder
sampling   bits per character, and samples while a text is trained
recipe     the settings, recipe.toml
tasks      tables, images, text: reading, splits, defaults, network, metrics
augmentation  how images are changed at random: the setting `augment`
image_networks  the networks for images that a recipe names, in one table
pictures   images for the report: training images, filters, where the network looks
networks   the network for tables, and the layers that networks share
"""
