"""The web process answers Label Studio and people within a second. Read `app` first.

app        routes and errors
wsgi       the app for gunicorn, with the settings of the environment
auth       who may call
requests   checks what callers send
origin     which address is Label Studio's
webhook    which event is recorded
predict    answers to /predict
predictor, messages, predictor_process   predictions of tasks that have none stored
people     what people open: the status page, its parts, its forms
forms      that a form comes from our own page
status/    the status page: what it says, its templates, style sheet and script
metrics, round_metrics, error_metrics   figures for monitoring
gunicorn_hooks   sums of these figures over several web processes
model      our class for the server of label-studio-ml
"""
