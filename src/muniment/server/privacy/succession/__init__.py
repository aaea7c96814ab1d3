"""Handing the service over to a buyer: announced, waited for, and only for who stayed and did not object."""
