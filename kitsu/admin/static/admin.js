// What htmx does not show: requests that fail.
document.addEventListener("htmx:responseError", show);
document.addEventListener("htmx:sendError", show);

function show(event) {
  const failure = document.getElementById("failure");
  const status = event.detail.xhr ? event.detail.xhr.status : 0;
  failure.textContent = status
    ? `The request failed with status ${status}. Nothing was changed.`
    : "The service does not respond. Try again in a moment.";
  failure.hidden = false;
}
