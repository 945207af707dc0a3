// Draws the diagrams of a page. The library is large: only pages with a diagram load it.
(() => {
  const blocks = [...document.querySelectorAll("code.language-mermaid")];
  if (blocks.length === 0) return;
  const library = document.createElement("script");
  library.src = `${path_to_root}mermaid.min.js`;
  library.onload = async () => {
    const dark = ["navy", "coal", "ayu"].some((theme) => document.documentElement.classList.contains(theme));
    mermaid.initialize({ startOnLoad: false, theme: dark ? "dark" : "default" });
    for (const [index, block] of blocks.entries()) {
      const drawn = await mermaid.render(`diagram-${index}`, block.textContent);
      const figure = document.createElement("figure");
      figure.innerHTML = drawn.svg;
      block.closest("pre").replaceWith(figure);
    }
  };
  document.head.append(library);
})();
