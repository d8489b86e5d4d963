/** Style sheets that a test loads for what they do to the page. */
declare module '*.css';
