collect_ignore = ["extension.py"]  # it registers models and a task
