import { Component, type ComponentChild, type ComponentType } from 'preact';

/** A component that is drawn anew only when one of its values is another one; what `values` gives is compared one by one. */
export function kept<P extends object>(
  Inner: ComponentType<P>,
  values: (props: P) => readonly unknown[],
): ComponentType<P> {
  return class Kept extends Component<P> {
    override shouldComponentUpdate(next: P): boolean {
      const [old, fresh] = [values(this.props), values(next)];
      return old.length !== fresh.length || old.some((value, index) => value !== fresh[index]);
    }

    override render(): ComponentChild {
      return <Inner {...this.props} />;
    }
  };
}
