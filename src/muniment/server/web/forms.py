"""How every form of ours is drawn: label, help, field, error, tied together for whoever cannot see them."""

from __future__ import annotations

from django.forms.renderers import DjangoTemplates


class Renderer(DjangoTemplates):
    """`{{ form }}` and `{{ form.email.as_field_group }}` in our own style."""

    form_template_name = "web/form.html"
    field_template_name = "web/field.html"
