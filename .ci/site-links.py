"""Fails for a link of a site that leads to no page or heading of it, and for anything that a page
loads from elsewhere. Usage: site-links.py <directory>"""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {("script", "src"), ("img", "src"), ("link", "href")}


class Page(HTMLParser):
    """What a page links to, what it loads, and the names of its parts."""

    def __init__(self, text):
        super().__init__()
        self.links, self.loads, self.names = [], [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if (tag, name) in LOADED:
                self.loads.append(value)
            elif (tag, name) == ("a", "href"):
                self.links.append(value)
            elif name == "id":
                self.names.add(value)


def wrong(site, pages):
    for path, page in pages.items():
        for link in page.links + page.loads:
            url = urlsplit(link)
            if url.scheme or url.netloc:
                if link in page.loads:
                    yield f"{path}: loads {link} from elsewhere"
                continue
            # Links of the page for unknown addresses begin at the site's own address.
            if path.name == "404.html":
                continue
            target = (path.parent / unquote(url.path)).resolve() if url.path else path
            if not target.is_file():
                yield f"{path}: {link}: there is no such page"
            elif url.fragment and unquote(url.fragment) not in pages[target].names:
                yield f"{path}: {link}: the page has no such heading"


site = Path(sys.argv[1]).resolve()
pages = {path: Page(path.read_text()) for path in sorted(site.rglob("*.html"))}
found = list(wrong(site, pages))
for line in found:
    print(f"site: {line}", file=sys.stderr)
links = sum(len(page.links) for page in pages.values())
if found or links < 100:
    sys.exit(f"site: {len(found)} of {links} links are wrong")
print(f"site: {len(pages)} pages, {links} links", file=sys.stderr)
