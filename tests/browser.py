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


def becomes(page, holds):
    """Wait until something holds; say whether it does."""
    for _ in range(100):
        if holds():
            return True
        page.wait_for_timeout(100)
    return False


def drawn(page, name):
    """Return a figure of a chart when it is drawn."""
    figure = page.locator(f"#{name}")
    figure.scroll_into_view_if_needed()
    figure.locator(".chart[data-drawn]").wait_for()
    return figure


def labels_of(figure):
    """Return what stands at the axes; Vega puts new ones behind those that stay."""
    return sorted(figure.locator(".role-axis-label text").all_text_contents())


def middle(figure):
    """Return the middle of a chart's first view, whose axes are around it."""
    views = [view.bounding_box() for view in figure.locator("path.background").all()]
    box = next(view for view in views if view["width"] > 0 and view["height"] > 0)
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def zoom_changes_labels(page, figure, sideways=False):
    """Turn the wheel over a chart, with the shift key; say whether its axes have other labels.

    Some browsers turn a wheel sideways while the shift key is down.
    """
    before = labels_of(figure)
    page.mouse.move(*middle(figure))
    page.keyboard.down("Shift")
    page.mouse.wheel(*((-900, 0) if sideways else (0, -900)))
    page.keyboard.up("Shift")
    return becomes(page, lambda: labels_of(figure) != before)
