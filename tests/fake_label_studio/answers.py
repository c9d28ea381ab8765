"""How Label Studio refuses: the status and the words that the backend's client reads."""


class Refused(Exception):
    """A request that is answered with an error.

    Args:
        status: of the answer.
        detail: Label Studio's reason.
        fields: reasons by the name of a field ("Validation error").
    """

    def __init__(self, status, detail="Validation error", fields=None):
        super().__init__(detail)
        self.status = status
        self.body = {"status_code": status, "version": VERSION, "detail": detail}
        if fields:
            self.body["validation_errors"] = fields


VERSION = "1.23.2"
"""The Label Studio whose answers are given here."""
NO_CHOICE = "Select a valid choice. That choice is not one of the available choices."
"""In the 400 for a query that names a project or task that is not there."""


def invalid(field, reason):
    """A 400 about one field."""
    return Refused(400, fields={field: [reason]})


def found(records, number, kind):
    """A record by its id, or the 404 that Label Studio gives."""
    record = records.get(int(number))
    if record is None:
        raise Refused(404, f"No {kind} matches the given query.")
    return record
