// Every text on the page whose contrast with what is behind it is below 4.5 to 1 (WCAG 2.2, 1.4.3).
() => {
  const context = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (color) => {
    context.clearRect(0, 0, 1, 1);
    context.fillStyle = color;
    context.fillRect(0, 0, 1, 1);
    return [...context.getImageData(0, 0, 1, 1).data];
  };
  const linear = (channel) => (channel <= 0.04045 ? channel / 12.92 : ((channel + 0.055) / 1.055) ** 2.4);
  const luminance = (color) => {
    const [red, green, blue] = rgba(color).map((channel) => linear(channel / 255));
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const behind = (element) => {
    const color = getComputedStyle(element).backgroundColor;
    return rgba(color)[3] === 255 || !element.parentElement ? color : behind(element.parentElement);
  };
  const ownText = (element) =>
    [...element.childNodes].filter((node) => node.nodeType === 3).map((node) => node.data.trim()).join("");
  const unread = ["SCRIPT", "OPTION", "TITLE"];
  return [...document.body.querySelectorAll("*")]
    .filter((element) => ownText(element) && !element.disabled && !unread.includes(element.tagName.toUpperCase()))
    .map((element) => {
      const style = getComputedStyle(element);
      const both = [luminance(element.closest("svg") ? style.fill : style.color), luminance(behind(element))];
      return [ownText(element), (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05)];
    })
    .filter(([, contrast]) => contrast < 4.5);
}
