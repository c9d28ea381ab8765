"""Images of tasks: find them, fetch them, keep them, decode them.

source: from a task's address to pixels; start here · fetch: HTTP within limits · cache: files on
disk · decode: file to pixels
"""
