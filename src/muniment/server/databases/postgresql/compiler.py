"""Django's compilers for PostgreSQL; those that answer ask what for."""

from __future__ import annotations

from django.db.backends.postgresql import compiler

from muniment.server.databases.reads import AsksWhatFor

SQLDeleteCompiler = compiler.SQLDeleteCompiler
SQLUpdateCompiler = compiler.SQLUpdateCompiler
SQLInsertCompiler = compiler.SQLInsertCompiler


class SQLCompiler(AsksWhatFor, compiler.SQLCompiler):
    pass


class SQLAggregateCompiler(AsksWhatFor, compiler.SQLAggregateCompiler):
    pass
