/** The arguments of a call as a value. What is no JSON cannot be one: it is kept as text, and nothing of it is lost. */
export function argumentsOf(json: string): unknown {
  try {
    return JSON.parse(json) as unknown;
  } catch {
    return { arguments: json };
  }
}
