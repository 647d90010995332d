"""From what the user names to single items: files, folders, lists, archives, tables, videos, object stores, given
boxes."""
