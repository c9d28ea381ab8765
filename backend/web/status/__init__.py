"""The status page for people, rendered on the server. Read `page` first.

page       the HTML of the overview and of a project's page
overview   every project in a few figures
project    all values of a project's page
now        what a project does now, its state in a word, and what needs a person
quality    mAP50 by labels, by label, and what the next labels bring
history    the rounds as a timeline and as a table
queue      the next images, with the pictures that the worker makes
versions   the orders and models, and the forms that choose between them
charts     curves as inline SVG
words      durations, times, names of steps
ready      why no round can run (/ready)
templates/ Jinja2 templates; assets/ the style sheet and the script
"""
