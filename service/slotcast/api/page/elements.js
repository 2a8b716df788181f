// Making and changing elements, only where something differs.

const SVG = "http://www.w3.org/2000/svg";

export const at = (id) => document.getElementById(id);

/** An HTML element with these properties and children; `data-`, `aria-` and `role` are attributes. */
export function made(tag, properties = {}, ...children) {
  return filled(document.createElement(tag), properties, children);
}

/** An SVG element with these attributes. */
export function drawn(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  setAttributes(element, attributes);
  element.append(...children);
  return element;
}

function filled(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** Set the text if it is another one; whether it was. */
export function setText(element, text) {
  const changed = element.textContent !== text;
  if (changed) element.textContent = text;
  return changed;
}

export function show(id, text) {
  return setText(at(id), text);
}

export function setAttributes(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
}
