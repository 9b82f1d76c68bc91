/** The page that asks for the token: the address' hash, which says what was to be shown, outlives it. */

// The answer to the form leads on, and what it leads to inherits the hash of the form's address.
const form = document.querySelector("form");
if (form) form.action = "login" + location.hash;
