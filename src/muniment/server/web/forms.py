"""How every form of ours is drawn: label, help, field, error, tied together for whoever cannot see them."""

from __future__ import annotations

from typing import Any

from django.forms.renderers import DjangoTemplates

# Django draws every option by two templates of its own, which took 100 ms for a list of countries.
_INSTEAD = {"django/forms/widgets/select.html": "web/select.html"}


class Renderer(DjangoTemplates):
    """`{{ form }}` and `{{ form.email.as_field_group }}` in our own style."""

    form_template_name = "web/form.html"
    field_template_name = "web/field.html"

    def get_template(self, template_name: str) -> Any:
        return super().get_template(_INSTEAD.get(template_name, template_name))
