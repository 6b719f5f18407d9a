"""The paper's experiments and open questions: a sweep file, a notebook and a page each (`make answers`)."""
