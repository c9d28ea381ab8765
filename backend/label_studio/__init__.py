"""Everything that knows Label Studio's formats and calls. Start with `client`.

client     the calls that a round needs
http, repetition, answers   tokens, repeated calls, whole answers
listings   tasks page by page
label_config   the labelling config; parts of it: config_xml, config_labels, controls,
               class_choices, import_rules
addresses  of servers and images
regions/   regions to masks, and masks to regions
queue      an order as predictions
tabs, marks   saved views of tasks, and the texts that one of them shows
left_out   what a round could not use
"""
