"""How every form of ours is drawn: label, help, field, error, tied together for whoever cannot see them."""

from __future__ import annotations

from typing import Any

from django.forms import Select
from django.forms.renderers import BaseRenderer, DjangoTemplates
from django.forms.utils import flatatt
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

# Django draws every option by two templates of its own, which took 100 ms for a list of countries.
_INSTEAD = {
    "django/forms/widgets/select.html": "web/select.html",
    "django/forms/widgets/checkbox_select.html": "web/checkboxes.html",
}


class Renderer(DjangoTemplates):
    """`{{ form }}` and `{{ form.email.as_field_group }}` in our own style."""

    form_template_name = "web/form.html"
    field_template_name = "web/field.html"

    def get_template(self, template_name: str) -> Any:
        return super().get_template(_INSTEAD.get(template_name, template_name))


class LongSelect(Select):
    """A list of some hundred choices, such as countries: drawn without a template's turn for each."""

    def render(
        self,
        name: str,
        value: Any,
        attrs: dict[str, Any] | None = None,
        renderer: BaseRenderer | None = None,
    ) -> SafeString:
        chosen = set(self.format_value(value))
        options = format_html_join(
            "\n", '<option value="{}"{}>{}</option>',
            ((key, _SELECTED if str(key) in chosen else "", label) for key, label in self.choices),
        )  # fmt: skip
        written = self.build_attrs(self.attrs, {**(attrs or {}), "name": name})
        return format_html("<select{}>{}</select>", flatatt(written), options)


_SELECTED = mark_safe(" selected")
