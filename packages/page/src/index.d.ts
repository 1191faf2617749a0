/** The folder of the built page: `index.html`, and files whose names tell what is in them. */
export declare const assetsFolder: string;
/**
 * With which a server sends all of it: the page has nothing but its own files, asks nobody but its own server, and lies in no frame
 * of another page.
 */
export declare const pageHeaders: Readonly<Record<string, string>>;
//# sourceMappingURL=index.d.ts.map
