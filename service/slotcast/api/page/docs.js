// The API's description as a page, from openapi.json. Shows; does not send requests.

const main = document.getElementById("main");

/** An element: made("td.left", "text", child, ...); texts and children in order. */
function made(kind, ...content) {
  const [tag, ...classes] = kind.split(".");
  const element = document.createElement(tag);
  element.className = classes.join(" ");
  element.append(...content.filter((part) => part !== null));
  return element;
}

/** Text with `code` in backticks. */
function prose(text = "") {
  return text.split("`").map((part, at) => (at % 2 ? made("code", part) : part));
}

function table(heads, rows) {
  if (!rows.length) return null;
  const head = made("thead", made("tr", ...heads.map((text) => made("th", text))));
  const lines = rows.map((cells) => made("tr", ...cells.map((cell) => made("td", ...[cell].flat()))));
  for (const cell of head.querySelectorAll("th")) cell.scope = "col";
  return made("table", head, made("tbody", ...lines));
}

/** A schema's type in words, with links to the records it names. */
function typeOf(schema = {}) {
  if (schema.$ref) return [link(schema.$ref.split("/").pop())];
  if (schema.anyOf) return schema.anyOf.flatMap((one, at) => (at ? [" or ", ...typeOf(one)] : typeOf(one)));
  if (schema.type === "array") return ["list of ", ...typeOf(schema.items)];
  if (schema.additionalProperties) return ["by name: ", ...typeOf(schema.additionalProperties)];
  if (schema.const !== undefined) return [made("code", JSON.stringify(schema.const))];
  return [schema.type ?? "anything"];
}

function link(name) {
  const anchor = made("a", name);
  anchor.href = `#record-${name}`;
  return anchor;
}

function bounds({ minimum, maximum, default: usual, ...schema }) {
  const said = [];
  const choice = schema.enum ?? schema.anyOf?.find((one) => one.enum)?.enum;
  if (choice) said.push(choice.join(", "));
  if (minimum !== undefined) said.push(`from ${minimum}`);
  if (maximum !== undefined) said.push(`to ${maximum}`);
  if (usual !== undefined && usual !== "" && usual !== null) said.push(`default ${usual}`);
  return said.length ? ` (${said.join(", ")})` : "";
}

function operation(path, method, { description, parameters = [], requestBody, responses, security }) {
  const title = made("h3", made(`span.method.${method}`, method.toUpperCase()), made("code", path));
  if (security) title.append(made("small", "bearer token, where one is configured"));
  const asked = parameters.map((one) => [
    made("code", one.name), typeOf(one.schema), [...prose(one.description), bounds(one.schema)],
  ]);
  const body = requestBody?.content["application/json"]?.schema;
  if (body) asked.push(["body", typeOf(body), "JSON"]);
  const answers = Object.entries(responses).map(([status, answer]) => {
    const [[media, content]] = Object.entries(answer.content ?? { "": {} });
    return [status, content.schema ? typeOf(content.schema) : media, prose(answer.description)];
  });
  return made("article", title, made("p", ...prose(description)),
    table(["Parameter", "Type", "Meaning"], asked), table(["Status", "Answer", "When"], answers),
    made("pre", curl(path, method, body, security)));
}

function curl(path, method, body, security) {
  const parts = ["curl"];
  if (method !== "get") parts.push(`-X ${method.toUpperCase()}`);
  if (security) parts.push('-H "Authorization: Bearer $TOKEN"');
  if (body) parts.push(`--json '{"all": true}'`);
  return [...parts, location.origin + path.replace(/{\w+}/g, "NAME")].join(" ");
}

function record(name, { description, properties = {} }) {
  const fields = Object.entries(properties).map(([field, schema]) => [
    made("code", field), typeOf(schema), prose(schema.description),
  ]);
  const article = made("article", made("h3", made("code", name)), made("p", ...prose(description)),
    table(["Field", "Type", "Meaning"], fields));
  article.id = `record-${name}`;
  return article;
}

function problem({ name, status, title }) {
  const article = made("article", made("h3", made("code", name), made("small", String(status))),
    made("p", title));
  article.id = name;
  return article;
}

function section(title, articles) {
  main.append(made("section", made("h2", title), ...articles));
}

function show(document_) {
  document.getElementById("version").textContent = document_.info.version;
  document.getElementById("about").replaceChildren(...prose(document_.info.description));
  const byTag = new Map();
  for (const [path, operations] of Object.entries(document_.paths)) {
    for (const [method, described] of Object.entries(operations)) {
      const tag = described.tags[0];
      byTag.set(tag, [...(byTag.get(tag) ?? []), operation(path, method, described)]);
    }
  }
  for (const tag of ["instruments", "resets", "service", "health", "pages"]) {
    section(tag[0].toUpperCase() + tag.slice(1), byTag.get(tag) ?? []);
  }
  section("Problems", document_["x-problems"].map(problem));
  const schemas = Object.entries(document_.components.schemas).sort(([a], [b]) => (a < b ? -1 : 1));
  section("Records", schemas.map(([name, schema]) => record(name, schema)));
  // The part that the address points to exists only now.
  if (location.hash) location.replace(location.hash);
}

try {
  const answer = await fetch("openapi.json");
  show(await answer.json());
} catch (error) {
  main.append(made("p.notice.bad", `The description could not be read: ${error.message}. Reload.`));
}
