/**
 * Whether a caller would rather have HTML than anything else, as browsers do; clients of the API accept everything or JSON.
 * Format: RFC 9110, section 12.5.1.
 */
export function prefersHtml(accept: string | undefined): boolean {
  const weights = new Map(
    (accept ?? '').split(',').map((range) => {
      const [type = '', ...parameters] = range.split(';').map((part) => part.trim().toLowerCase());
      const weight = parameters.find((each) => each.startsWith('q='))?.slice(2) ?? '1';
      return [type, Number(weight)];
    }),
  );
  const html = weights.get('text/html') ?? 0;
  const others = ['application/json', 'text/plain', '*/*'].map((type) => weights.get(type) ?? 0);
  return html > 0 && others.every((weight) => html >= weight);
}
