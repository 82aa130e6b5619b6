// mdBook takes each link to a page of Markdown for one to a page of this book, and makes it `.html`. Those that lead out
// of the book lead to the repository, as it lies around `target/book`.
for (const link of document.querySelectorAll('main a[href^="../"]')) {
    const target = link.getAttribute('href').replace(/\.html(?=#|$)/, '.md');
    link.setAttribute('href', target.replace(/^\.\.\/(?!\.\.)/, '../../docs/'));
}
for (const picture of document.querySelectorAll('main img[src^="../"]')) {
    picture.setAttribute('src', picture.getAttribute('src').replace(/^\.\.\//, '../../docs/'));
}
