"""The web process: it answers Label Studio and people within a second. Start with `app`.

app        routes and errors
auth       who may call
requests   checks what callers send
origin     which address is Label Studio's
webhook    which event is recorded
predict    answers to /predict
predictor, messages, predictor_process   predictions of tasks that have none stored
status, pages/   the page for people
metrics    figures for monitoring
model      our class for label-studio-ml's own server
"""
