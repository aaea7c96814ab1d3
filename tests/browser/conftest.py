"""A real server and a real browser for each story. See `tests.support.browsing`."""

from tests.support.browsing import browser, page, playwright_driver, scriptless_page, site

__all__ = ["browser", "page", "playwright_driver", "scriptless_page", "site"]
