"""The HTTP service and its page (`[serve]`): the same records as the command line, within limits that hold.

request -> limits -> body (in memory) -> queue -> worker process -> record
"""
