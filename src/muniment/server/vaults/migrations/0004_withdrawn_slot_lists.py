from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("vaults", "0003_longer_object_keys"),
    ]

    operations = [
        migrations.AddField(
            model_name="slotlistversion",
            name="withdrawn_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.RemoveConstraint(
            model_name="slotlistversion",
            name="slot_list_number_once",
        ),
        migrations.AddConstraint(
            model_name="slotlistversion",
            constraint=models.UniqueConstraint(
                condition=models.Q(("withdrawn_at", None)),
                fields=("vault", "number"),
                name="slot_list_number_once",
            ),
        ),
    ]
