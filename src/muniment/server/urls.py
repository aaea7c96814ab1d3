"""What Django serves: every app's pages, error pages, and whether the service is well."""

from __future__ import annotations

from django.urls import include, path

from muniment.server.health import healthz

urlpatterns = [
    path("healthz", healthz),
    path("", include("muniment.server.web.urls")),
    path("", include("muniment.server.site.urls")),
    path("", include("muniment.server.accounts.urls")),
    path("", include("muniment.server.portal.urls")),
    path("", include("muniment.server.portal.record_urls")),
    path("", include("muniment.server.console.urls")),
]

handler400 = "muniment.server.web.errors.bad_request"
handler403 = "muniment.server.web.errors.permission_denied"
handler404 = "muniment.server.web.errors.page_not_found"
handler500 = "muniment.server.web.errors.server_error"
