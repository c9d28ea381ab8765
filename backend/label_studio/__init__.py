"""Everything that knows Label Studio's formats and calls.

client: the calls that a round needs; start here · http, repetition, answers: tokens, repeated
calls, whole answers · listings: tasks page by page · label_config, config_xml, import_rules: the
labelling config · addresses: of servers and images · regions/: regions to masks and back · queue:
an order as predictions · left_out: what a round could not use
"""
