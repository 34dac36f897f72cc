# manual pages and other documents
