"""The page of an explanation: one HTML file that computes the graph itself.

contents         what a page shows, as data: the graph with its steps and names
values           the nodes of the graph, and which values a page has of them
initialisations  how its parameters would be drawn
tangents         the derivative of a step along a direction
signs            whether the loss cannot fall below 0
variants         the same network with another activation or depth
scripts          the JavaScript that computes the graph
assembly         contents, and the words of each step: the whole page
page             the HTML file: contents, `body.html`, `style.css`, the scripts of `compute/` and of
                 `view/`, which draw
"""
