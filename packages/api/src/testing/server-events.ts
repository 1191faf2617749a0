/** The events of a stream of server-sent events, each as its JSON; the name of an event must be the type in it. */
export function eventsOf(text: string): { readonly type?: string; readonly [field: string]: unknown }[] {
  return text.split('\n\n').flatMap((block) => {
    const name = /^event: (.*)$/m.exec(block)?.[1];
    const data = /^data: (.*)$/m.exec(block)?.[1];
    if (data === undefined || data === '[DONE]') return [];
    const event = JSON.parse(data) as { readonly type?: string };
    if (name !== undefined && name !== event.type) throw new Error(`An event ${name} says ${data}.`);
    return [event];
  });
}
