output "addresses" {
  description = "The public address of each server, by name."
  value       = { for name, address in google_compute_address.server : name => address.address }
}

output "servers" {
  description = "What clients dial, HOST:PORT, by name."
  value       = { for name, address in google_compute_address.server : name => "${address.address}:50051" }
}

output "service_account" {
  description = "The email of the servers' service account, which has no roles."
  value       = google_service_account.server.email
}
