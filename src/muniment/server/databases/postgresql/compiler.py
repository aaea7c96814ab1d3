"""Django's compilers for PostgreSQL; those that answer or copy ask what for."""

from __future__ import annotations

from django.db.backends.postgresql import compiler

from muniment.server.databases.reads import AsksWhatFor, AsksWhatIsCopied

SQLDeleteCompiler = compiler.SQLDeleteCompiler
SQLInsertCompiler = compiler.SQLInsertCompiler


class SQLCompiler(AsksWhatFor, compiler.SQLCompiler):
    pass


class SQLAggregateCompiler(AsksWhatFor, compiler.SQLAggregateCompiler):
    pass


class SQLUpdateCompiler(AsksWhatIsCopied, compiler.SQLUpdateCompiler):
    pass
