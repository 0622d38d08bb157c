"""A page of HTML as a browser shows it, which is refused the network."""

CHECKED = ["header", "#first", "#M6", "#B1", "#matches", "#sources"]
"""What axe looks at on a report: claims are all made alike."""
DESKTOP, PHONE = {"width": 1400, "height": 900}, {"width": 375, "height": 720}


class Opened:
    """A page with what it complained of and what it asked for."""

    def __init__(self, browser, path, **options):
        self.context = browser.new_context(offline=True, accept_downloads=True, **options)
        self.complaints, self.requests = [], []
        self.page = self.context.new_page()
        self.page.on("console", lambda said: self.complaints.append(f"{said.type}: {said.text}"))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda shown: self.complaints.append(f"dialog: {shown.message}"))
        self.page.on("request", lambda asked: self.requests.append(asked.url))
        self.page.goto(path.as_uri())


def inside(page, selector):
    """Say whether all elements are wholly on the first screen, without scrolling."""
    return page.evaluate(
        """(selector) => [...document.querySelectorAll(selector)].map((element) => {
            const box = element.getBoundingClientRect();
            return box.top >= 0 && box.bottom <= innerHeight && box.right <= innerWidth;
        })""",
        selector,
    )


def serious(page, checked, **options):
    """Return what axe finds serious or critical, with an example of each."""
    from axe_playwright_python.sync_playwright import Axe

    context = {"include": [[selector] for selector in checked]}
    found = Axe().run(page, context, options or None).response["violations"]
    return [
        (one["id"], one["nodes"][0]["html"][:200], one["nodes"][0].get("failureSummary", ""))
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
